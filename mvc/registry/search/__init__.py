"""Search: which versions an expression is true of."""
