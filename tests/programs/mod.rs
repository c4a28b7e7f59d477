//! Programs that serve HTTP: requests arrive as messages, whoever holds one answers it, and the
//! client hears of every end. The scripts are for `support/actor`, whose root runs the body of each
//! request.

mod clients;
mod requests;
mod responses;
mod roots;
