"""DNS: from packets to questions, answers and what else they carry."""
