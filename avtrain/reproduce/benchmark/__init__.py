"""What the benchmarks av-digits and grid share: cells, columns of labels, the table, the page."""
