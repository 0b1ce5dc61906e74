"""The native runtime: the language it is written in, the loop that runs thunks, the thread pool, and the dispatch."""
