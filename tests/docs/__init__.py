"""What the documents say is so: their blocks run, their tables are the declarations, their words are plain."""
