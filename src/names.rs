//! Constants: names, labels, ports, field managers. The lowest layer.
