# Of what `cargo test` printed: each failed test's name, and what it panicked with. A log of CI is cut in its middle, where
# they stand; this is for its end.
/^---- .* stdout ----$/ { name = $2; left = 0; next }
/panicked at / && name != "" { print "FAILED " name; left = 14 }
/^stack backtrace:|^note: run with|^failures:$/ { left = 0; if (/^failures:$/) name = "" }
left > 0 { print "    " substr($0, 1, 400); left-- }
# What stopped before there were results.
/^error(\[E[0-9]+\])?: / && !/test failed, to rerun/ { print substr($0, 1, 400) }
