"""Job-result gateway: job results from Kafka reach AWS CodePipeline once, in order, soon."""

__version__ = "0.1.0"
