"""The log of a run: what a tick holds, the writer in the loop, the logger, the reader, figures."""
