"""The whole flow in virtual time: several gateways, one seed a run, all that can go wrong."""
