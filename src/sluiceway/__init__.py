"""Stackable async middleware for LLM calls."""
