"""The randomised campaign."""
