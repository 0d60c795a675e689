"""Many runs from one file: the file's format, its points, and computing what they share only once."""
