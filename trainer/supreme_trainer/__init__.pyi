from supreme_trainer.command.library import run as run
