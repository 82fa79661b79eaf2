"""What lies in a study's folder: which runs there are, their predictions and their patches."""
