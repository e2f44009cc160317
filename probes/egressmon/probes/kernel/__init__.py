"""The interfaces of the running kernel: bpf(2), ring buffers, and perf events."""
