"""Looking back: past recordings judged by the present rules, one of them or many."""
