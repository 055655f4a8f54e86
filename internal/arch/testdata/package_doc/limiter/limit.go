package limiter // want package-doc "package limiter has no package comment"
