from data_gen.early_signals import heed_as_command

heed_as_command(__name__)
