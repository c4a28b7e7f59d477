//! Programs that serve HTTP: requests arrive as messages, the process that holds a request answers
//! it, and the client learns of every end. The scripts are for `support/actor`. Its root runs the
//! body of each request.

mod clients;
mod requests;
mod responses;
mod roots;
