"""Which labels are wrong, and how: the mixture of label errors on real labels, its record, and what shows it."""
