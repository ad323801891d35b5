"""The command line: one file per verb, each over the public interface alone."""
