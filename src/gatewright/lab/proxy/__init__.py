"""A node's service proxy: Services and EndpointSlices in, one nftables table of its own kept true."""
