async fn load(
    db: &Db,
    name: &str,
    #[cfg(feature = "more")]
    more: &[u64],
    id: u64,
) -> Result<User, DbError> {
    #[allow(unused_imports)]
    use ::cachetier::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __shape = (&&(&&&&::cachetier::attribute::Probe::<Result<User, DbError>>::new())
        .shape())
        .checked();
    #[allow(clippy::all, clippy::pedantic)]
    let (__cache, __key) = {
        let __cache = ::cachetier::attribute::installed();
        let mut __key = ::cachetier::KeyText::new();
        __key.literal("user:");
        __key.part(&(id));
        if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
            return __hit;
        }
        (__cache.into_owned(), ::std::string::String::from(__key))
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __rules = ::cachetier::attribute::rules(POLICY, ::std::vec![]);
    #[allow(clippy::all, clippy::pedantic)]
    let __sharing = (&&&::cachetier::attribute::ErrorProbe::of(&__shape)).sharing();
    __shape
        .refresh(
            __cache,
            __key,
            __rules,
            __sharing,
            move || {
                let db = ::cachetier::attribute::kept(db);
                let name = ::cachetier::attribute::kept(name);
                #[cfg(feature = "more")]
                let more = ::cachetier::attribute::kept(more);
                async move {
                    #[allow(unused_variables, unused_mut)]
                    let db = db.lent();
                    #[allow(unused_variables, unused_mut)]
                    let name = name.lent();
                    #[cfg(feature = "more")]
                    #[allow(unused_variables, unused_mut)]
                    let more = more.lent();
                    async move {
                        if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                            Result<User, DbError>,
                        > {
                            return __returned;
                        }
                        #[allow(
                            clippy::let_unit_value,
                            clippy::diverging_sub_expression
                        )]
                        let __returned: Result<User, DbError> = {
                            db.fetch(name, id).await
                        };
                        #[allow(unreachable_code)] return __returned;
                    }
                        .await
                }
            },
        )
        .await
}
///What belongs to [`load`](fn@load): its keys.
mod load {
    #[allow(unused_imports)]
    use super::*;
    ///Returns the key under which a call of [`load`](fn@super::load) with these arguments is cached.
    #[must_use]
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(super) fn key(id: u64) -> ::std::string::String {
        ::std::string::String::from({
            let mut __key = ::cachetier::KeyText::new();
            __key.literal("user:");
            __key.part(&(id));
            __key
        })
    }
    ///Invalidates what a call of [`load`](fn@super::load) with these arguments has cached, in every instance.
    ///
    /// # Errors
    ///
    /// Those of an invalidation of the key; and that there is no cache.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(super) async fn invalidate(
        id: u64,
    ) -> ::std::result::Result<::cachetier::Delivery, ::cachetier::CacheError> {
        let __key = {
            let mut __key = ::cachetier::KeyText::new();
            __key.literal("user:");
            __key.part(&(id));
            __key
        };
        let __cache = ::cachetier::attribute::installed();
        ::cachetier::attribute::invalidate(&__cache, &__key).await
    }
}
