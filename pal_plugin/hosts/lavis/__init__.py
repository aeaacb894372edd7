"""salesforce-lavis as a host: everything that imports it is here."""
