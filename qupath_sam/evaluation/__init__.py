"""How many clicks a model needs: the papers' protocol, data sets, results that are kept, tables and figures."""
