"""DNS: from packets to messages, and from messages to questions with answers."""
