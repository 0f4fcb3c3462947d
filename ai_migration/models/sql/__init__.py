"""SQL that the ORM cannot express, one function each, with a portable version."""
