from data_gen.process.early_signals import heed_as_command

heed_as_command(__name__)
