config.gravatar = { disabled: true };
config.analytics = { disabled: true };
