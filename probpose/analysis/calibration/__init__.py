"""Whether predicted uncertainty can be believed: diagnosis on held-out labels."""
