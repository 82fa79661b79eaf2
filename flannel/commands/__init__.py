"""The stages that are plain functions: what `flannel COMMAND` runs beside training.

Each reads the files that the stage before it left in the study folder, and says at the end where
its own results are.
"""
