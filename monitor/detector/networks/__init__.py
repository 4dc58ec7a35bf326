"""The networks themselves, one form a file. All map scaled windows to codes and codes to windows, row by row."""
