"""Which faults in data are noticed, by Shipway and by others: ``make bench-faults``."""
