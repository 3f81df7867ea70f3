"""Numbers: arrays in, arrays out. Nothing here knows of trials or spaces."""
