"""What has been tried: trial records, hyperopt's documents, and the columns the algorithms read."""
