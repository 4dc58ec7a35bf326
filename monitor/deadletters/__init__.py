"""`telltale deadletters`: what is in the dead-letter topic, and writing rejected records to their topics again."""
