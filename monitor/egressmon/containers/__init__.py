"""Who a container is: by its cgroup, and by what its engine says of it."""
