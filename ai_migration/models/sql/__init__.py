"""SQL the ORM cannot do, one function each, with a portable twin."""
