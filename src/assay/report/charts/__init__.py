"""Pictures: charts of records and frontiers, circuits drawn."""
