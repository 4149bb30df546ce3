module recount

go 1.24

require golang.org/x/text v0.23.0
