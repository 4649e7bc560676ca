"""The project of the stand-in for the Data Registry."""
