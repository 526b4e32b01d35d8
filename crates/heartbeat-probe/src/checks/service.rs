//! The checks of a service as a service of hyper, and of tower.

use std::convert::Infallible;
use std::future::{Ready, ready};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::Checks;

impl Checks {
    /// GET and HEAD, on every path that is routed to it.
    fn answer(&self, method: &Method) -> Response<String> {
        if matches!(*method, Method::GET | Method::HEAD) {
            return self.response();
        }
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    }
}

/// Answers GET and HEAD on every path with [`Checks::response`], so that a server of hyper can serve it as it is.
impl<B> hyper::service::Service<Request<B>> for Checks {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method())))
    }
}

/// The same for a router of axum: `route_service("/api/health/", checks)`.
#[cfg(feature = "tower")]
impl<B> tower_service::Service<Request<B>> for Checks {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        request
    }

    #[tokio::test]
    async fn both_services_answer_questions_and_nothing_else() {
        let mut checks = Checks::start([]);
        for (method, status) in [(Method::GET, 200), (Method::HEAD, 200), (Method::POST, 405)] {
            let answer = hyper::service::Service::call(&checks, request(method.clone())).await.unwrap();
            assert_eq!(answer.status(), status, "{method}");
            #[cfg(feature = "tower")]
            {
                let answer =
                    tower_service::Service::call(&mut checks, request(method.clone())).await.unwrap();
                assert_eq!(answer.status(), status, "{method}");
            }
        }
        // Without the feature it is not changed.
        let _ = &mut checks;
    }
}
