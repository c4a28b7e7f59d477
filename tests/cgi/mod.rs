//! Commands that answer by CGI/1.1: what they find in their variables, what of their output is the
//! response, and what becomes of the client if they end badly. And commands that run by themselves.

mod alone;
mod ends;
mod heads;
mod streams;
mod variables;
