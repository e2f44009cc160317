"""The operating system's filter, rendered from the policy: nftables, and pf."""
