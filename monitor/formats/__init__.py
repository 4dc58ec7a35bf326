"""From the bytes of records to columns of samples: the decoder, and the formats that it knows."""
