"""Types, the IR, tracing and the contract of primitives. Knows no operation."""
