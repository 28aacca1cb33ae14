//! One line per connection.
