"""The nftables program of one node: typed data, its text, atomic application, reading back, ended connections."""
