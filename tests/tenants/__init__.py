"""A project with django-tenants: every tenant has users, and an index of them, of its own."""
