"""The service: a receiver, a durable spool with its journal, a worker in its own process, and a sender."""
