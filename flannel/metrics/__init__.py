"""The numbers: F1, AUC and calibration, with their intervals over patients and their tests."""
