//! Who did what: a line for each thing that was done, written with the change itself where there is one.

use jiff::Timestamp;
use testyard_store::{AuditObject, AuditRow, Change, ChangeError, WriteError};

use crate::api::{Caller, Refusal};
use crate::core::Core;

impl Caller {
    /// The line that says that the caller did this.
    pub(crate) fn did(
        &self,
        at: Timestamp,
        object: AuditObject,
        operation: &str,
        detail: String,
    ) -> AuditRow {
        AuditRow {
            at,
            user: self.user.clone(),
            tool: self.tool.clone(),
            request: self.request,
            object,
            operation: operation.to_owned(),
            detail,
        }
    }
}

impl Core {
    /// Notes what the caller does, where nothing else of it is written.
    pub(crate) async fn audit(
        &self,
        caller: &Caller,
        object: AuditObject,
        operation: &'static str,
        detail: String,
    ) -> Result<(), Refusal> {
        let row = caller.did(self.clock.now(), object, operation, detail);
        let written: Result<(), WriteError<ChangeError>> =
            self.store.write(move |change: &Change<'_>| change.audit(&row), |&()| ()).await;
        written.map_err(|error| self.internal(operation, &error))
    }
}
