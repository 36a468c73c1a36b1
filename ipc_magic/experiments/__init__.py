"""One file a question: each joins the rooms below and makes one result."""
