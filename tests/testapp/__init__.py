"""An application with every kind of model the index has to cope with."""
